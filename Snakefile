# The whole pipeline as a graph, straight from configs.py:
#
#   experiments x folds -> predictions -> pseudo-label experiments x folds -> predictions -> stack
#
#   snakemake -n                                     all 40 runs of the published stack
#   snakemake --config experiments=Demo,PseudoDemo   a subset; what it needs is added
#   snakemake --config settings="train_cache=input/train_cache.f32" results=results
#   snakemake --workflow-profile profiles/slurm      on a cluster; docs/how-to/run-the-pipeline.md
#
# A fold is a job, and a job that was killed is resumed: checkpoints are not outputs and stay. The
# mark fold<k>.done holds the digest of the finished weights. If a run is trained again, in the
# pipeline or by hand, its marks change, and what was made from it is made again.
import sys

sys.path.insert(0, workflow.basedir)

import configs  # registers the experiments
from experiments.pipeline import read_config
from experiments.pipeline_jobs import correct_marks, predict_command, train_command, write_mark
from runtime.errors import UserError

try:
    PLAN, THREADS, MARKS = read_config(config)
except UserError as error:
    raise WorkflowError(str(error))

RESULTS = PLAN.results
# With marks elsewhere, the results may lie on a volume that only the jobs can see.
if MARKS is None:
    for sentence in correct_marks(PLAN):
        print(sentence, file=sys.stderr)


# Where jobs share no folder but a volume, as on Kubernetes, results is a path on that volume and
# only marks, one for each file, travel by way of Snakemake's storage.


def needed(name):
    return f"{MARKS or RESULTS}/{name}"


def made(*names):
    return [touch(needed(name)) if MARKS else needed(name) for name in names]


wildcard_constraints:
    run="[^/]+",
    fold=r"\d+",


rule all:
    input:
        needed("submission.csv"),
        needed("index.html"),


def training_input(wildcards):
    source, start = PLAN.label_source(wildcards.run), PLAN.weight_source(wildcards.run)
    inputs = [] if source is None else [needed(f"{source}/predictions.npy")]
    return inputs if start is None else [*inputs, needed(f"{start}/fold{wildcards.fold}.done")]


def trained_folds(wildcards):
    return [needed(f"{wildcards.run}/fold{k}.done") for k in PLAN.folds(wildcards.run)]


def stacked(wildcards):
    plain = [needed(f"{run}/predictions.npy") for run in PLAN.members]
    views = [run for run in PLAN.members if PLAN.wants_views(run)]
    return plain + [needed(f"{run}/predictions_tta.npy") for run in views]


rule train:
    input:
        training_input,
    output:
        needed("{run}/fold{fold}.done"),
    threads: THREADS
    resources:
        gpu=1,
    # A param, so that other settings or options make the fold a job again.
    params:
        command=lambda wildcards: PLAN.train(wildcards.run, int(wildcards.fold)),
    run:
        command = train_command(PLAN, wildcards.run, int(wildcards.fold))
        shell("{command}")
        write_mark(PLAN, wildcards.run, int(wildcards.fold), output[0])


rule predict:
    input:
        trained_folds,
    output:
        made("{run}/outoffolds.npy", "{run}/predictions.npy"),
    threads: THREADS
    resources:
        gpu=1,
    params:
        command=lambda wildcards: PLAN.predict(wildcards.run),
    run:
        command = predict_command(PLAN, wildcards.run)
        shell("{command}")


rule predict_views:
    input:
        trained_folds,
        # After the plain ones: both write the ids.
        needed("{run}/predictions.npy"),
    output:
        made("{run}/outoffolds_tta.npy", "{run}/predictions_tta.npy"),
    threads: THREADS
    resources:
        gpu=1,
    params:
        command=lambda wildcards: PLAN.predict(wildcards.run, views=True),
    run:
        command = predict_command(PLAN, wildcards.run, views=True)
        shell("{command}")


rule stack:
    input:
        stacked,
    output:
        made("submission.csv", "stack.json", "stack.csv"),
    params:
        command=PLAN.stack(),
    shell:
        "{params.command}"


rule report:
    input:
        needed("stack.json"),
    output:
        made("index.html"),
    params:
        command=PLAN.report(),
    shell:
        "{params.command}"
