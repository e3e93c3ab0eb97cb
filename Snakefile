# The whole pipeline as a graph, straight from configs.py:
#
#   experiments x folds -> predictions -> pseudo-label experiments x folds -> predictions -> stack
#
#   snakemake -n                                     all 40 runs of the published stack
#   snakemake --config experiments=Demo,PseudoDemo   a subset; what it needs is added
#   snakemake --config settings="train_cache=input/train_cache.f32" results=results
#   snakemake --workflow-profile profiles/slurm      on a cluster; docs/how-to/run-the-pipeline.md
#
# or a long search, a job for each part of it; docs/how-to/search-a-month.md:
#
#   snakemake --config detect="--weights wave07 --strain H1=h1/ L1=l1/" out=results/o3a parts=30
#   snakemake --config mdc="--set 1 --duration 30d --config Mdc1" out=results/month parts=30
#
# A fold is a job, of each seed where a config has several, and a job that was killed is resumed.
# Outputs are marks only, small files with
# digests of what is finished: Snakemake deletes the outputs of a job before it starts and when it
# fails, and no result may be lost so. See experiments/pipeline_done_files.py and pipeline_jobs.py.
import functools
import sys

sys.path.insert(0, workflow.basedir)

import configs  # registers the experiments
from experiments.pipeline import read_config
from experiments.pipeline_done_files import mark_predictions, outdated_marks, unmarked_predictions
from runtime.errors import UserError
from search import pipeline as search_pipeline

PLAN = SEARCH = None  # one of them is what is asked for
try:
    if search_pipeline.asks_for_search(config):
        SEARCH = search_pipeline.read_search_config(config)
        THREADS, MARKS, RESULTS = SEARCH.threads, SEARCH.marks, SEARCH.out
    else:
        PLAN, THREADS, MARKS = read_config(config)
        RESULTS = PLAN.results
except UserError as error:
    raise WorkflowError(str(error))

JOB = (SEARCH or PLAN).job()


# Where jobs share no folder but a volume, as on Kubernetes, results is a path on that volume and
# the marks travel by way of Snakemake's storage.
def mark(name):
    check_marks()
    return f"{FOLDER}/{name}"


# Input functions are the first to know whether this is a dry run, and come before Snakemake
# decides which jobs are needed.
@functools.cache
def check_marks():
    """Make jobs of the marks that no longer hold; a dry run changes nothing on disk."""
    # A job starts Snakemake again for itself. Marks elsewhere are those of results that may lie on
    # a volume which only the jobs can see.
    if MARKS is not None or not workflow.is_main_process or workflow.executor_plugin is None:
        return
    outdated = search_pipeline.outdated_marks(SEARCH) if SEARCH else outdated_marks(PLAN)
    for name, reason in outdated.items():
        print(reason, file=sys.stderr)
        workflow.dag.forcefiles.add(f"{RESULTS}/{name}")
    if SEARCH:
        return
    missing = unmarked_predictions(PLAN)
    if missing and workflow.dryrun:
        print(
            f"{len(missing)} finished predictions of an earlier version have no mark. It is written "
            f"when the pipeline starts, and they are not made again, other than shown here.",
            file=sys.stderr,
        )
    elif missing:
        mark_predictions(PLAN, missing)


def finished(wildcards):
    if SEARCH:
        return [mark(search_pipeline.SEARCHED)]
    return [mark("stack.done"), mark("report.done")]


def training_input(wildcards):
    source, start = PLAN.label_source(wildcards.run), PLAN.weight_source(wildcards.run)
    inputs = [] if source is None else [mark(f"{source}/predictions.done")]
    if start is None:
        return inputs
    network = PLAN.network_to_start_from(wildcards.run, wildcards.network)
    return [*inputs, mark(f"{start}/{network}.done")]


def trained_folds(wildcards):
    return [mark(f"{wildcards.run}/{name}.done") for name in PLAN.networks(wildcards.run)]


def stacked(wildcards):
    plain = [mark(f"{run}/predictions.done") for run in PLAN.members]
    views = [run for run in PLAN.members if PLAN.wants_views(run)]
    return plain + [mark(f"{run}/predictions_tta.done") for run in views]


def searched_parts(wildcards):
    return [mark(f"{search_pipeline.PARTS}/{name}.done") for name in SEARCH.part_names]


FOLDER = MARKS or RESULTS


wildcard_constraints:
    run="[^/]+",
    network=r"(seed\d+/)?fold\d+",
    part=r"\d+_of_\d+",


rule all:
    input:
        finished,


rule train:
    input:
        training_input,
    output:
        f"{FOLDER}/{{run}}/{{network}}.done",
    threads: THREADS
    resources:
        gpu=1,
    # A param, so that other settings or options make the fold a job again.
    params:
        command=lambda wildcards: PLAN.train_network(wildcards.run, wildcards.network),
    shell:
        "{JOB} {output:q} {params.command}"


rule predict:
    input:
        trained_folds,
    output:
        f"{FOLDER}/{{run}}/predictions.done",
    threads: THREADS
    resources:
        gpu=1,
    params:
        command=lambda wildcards: PLAN.predict(wildcards.run),
    shell:
        "{JOB} {output:q} {params.command}"


rule predict_views:
    input:
        trained_folds,
        # After the plain ones: both write the ids.
        f"{FOLDER}/{{run}}/predictions.done",
    output:
        f"{FOLDER}/{{run}}/predictions_tta.done",
    threads: THREADS
    resources:
        gpu=1,
    params:
        command=lambda wildcards: PLAN.predict(wildcards.run, views=True),
    shell:
        "{JOB} {output:q} {params.command}"


rule stack:
    input:
        stacked,
    output:
        f"{FOLDER}/stack.done",
    params:
        command=lambda wildcards: PLAN.stack(),
    shell:
        "{JOB} {output:q} {params.command}"


rule report:
    input:
        f"{FOLDER}/stack.done",
    output:
        f"{FOLDER}/report.done",
    params:
        command=lambda wildcards: PLAN.report(),
    shell:
        "{JOB} {output:q} {params.command}"


rule search_part:
    output:
        f"{FOLDER}/.parts/{{part}}.done",
    threads: THREADS
    resources:
        gpu=SEARCH.gpus if SEARCH else 0,
    params:
        command=lambda wildcards: SEARCH.part(wildcards.part),
    shell:
        "{JOB} {output:q} {params.command}"


rule merge_search:
    input:
        searched_parts,
    output:
        f"{FOLDER}/search.done",
    params:
        command=lambda wildcards: SEARCH.merge(),
    shell:
        "{JOB} {output:q} {params.command}"
