# The whole pipeline as a graph, straight from configs.py:
#
#   experiments x folds -> predictions -> pseudo-label experiments x folds -> predictions -> stack
#
#   snakemake -n                                     all 40 runs of the published stack
#   snakemake --config experiments=Demo,PseudoDemo   a subset; what it needs is added
#   snakemake --config settings="train_cache=input/train_cache.f32" results=results
#   snakemake --workflow-profile profiles/slurm      on a cluster; docs/how-to/run-the-pipeline.md
#
# A fold is a job, and a job that is killed goes on where it stood: the marks below say that a fold
# is done, its checkpoints are no outputs and stay.
import sys

sys.path.insert(0, workflow.basedir)

import configs  # registers the experiments
from experiments.pipeline import read_config
from runtime.errors import UserError

try:
    PLAN, THREADS, MARKS = read_config(config)
except UserError as error:
    raise WorkflowError(str(error))

RESULTS = PLAN.results


# Where jobs share no folder but a volume, as on Kubernetes, results is a path on that volume and
# only empty marks, one for each file, travel by way of Snakemake's storage.


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
    source, start = PLAN.source(wildcards.run), PLAN.start(wildcards.run)
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
        touch(needed("{run}/fold{fold}.done")),
    threads: THREADS
    resources:
        gpu=1,
    params:
        command=lambda wildcards: PLAN.train(wildcards.run, wildcards.fold),
    shell:
        "{params.command}"


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
    shell:
        "{params.command}"


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
    shell:
        "{params.command}"


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
