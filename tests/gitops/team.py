"""What a team does and sees: it commits, Argo CD applies, pods run. Everything is written into a transcript."""

import os
from dataclasses import dataclass, field

from fino1.k8s.state.run import Run, list_runs
from tests.gitops.argocd import ArgoCD
from tests.gitops.kubelet import Kubelet, Models
from tests.gitops.repository import Repository


@dataclass
class Team:
    argocd: ArgoCD
    repository: Repository
    kubelet: Kubelet
    models: Models
    lines: list[str] = field(default_factory=list)

    @property
    def api(self):
        return self.argocd.runs

    def evaluation(self, *models, size=2, **block):
        """A run file: these models on `size` questions of `ledger`."""
        served = [{"name": name, "base_url": self.models.url, "model_id": name} for name in models]
        tasks = [{"task": "ledger", "size": size}]
        block = {"models": served, "tasks": tasks, "max_retries": 0, "max_tokens": 64} | block
        return {"method": "eval", "gpus_per_node": 0, "eval": block}

    def training(self, **keys):
        """A run file: SFT on eight GPUs."""
        return {"method": "sft", "backend": "job", "gpus_per_node": 8, "data": {"path": "/work/rows.jsonl"}, **keys}

    def commit(self, message, files, waits=True):
        """Push run files, by their folders; wait until Argo CD and the pods have done what they ask for."""
        names = {name if "/" in name else f"runs/{name}/run.yaml": content for name, content in files.items()}
        return self.follow(message, self.repository.commit(message, names), waits)

    def move(self, before, after):
        return self.follow(f"{before} renamed to {after}", self.repository.move(f"runs/{before}", f"runs/{after}"))

    def follow(self, message, commit, waits=True):
        before = self.jobs()
        self.argocd.refresh(commit, self.repository.folders())
        if waits:
            self.argocd.until("the pods have ended", self.is_quiet)
        after = self.jobs()
        new, gone = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
        self.lines.append(f"{commit[:8]} {message}\n    new: {new}\n    gone: {gone}\n    asked: {self.models.asked}")
        return commit

    @property
    def transcript(self):
        return "\n".join(self.lines)

    def jobs(self):
        """Name of each Job → its uid: one that was made anew has another."""
        return {job["metadata"]["name"]: job["metadata"]["uid"] for job in self.api.list("batch/v1", "Job")}

    def runs(self, name):
        """The runs of a folder, by model."""
        return {run.model: run for run in list_runs(self.api, selector=f"app.kubernetes.io/instance={name}")}

    def is_quiet(self):
        """Whether every run is over or only runs on, and its leaderboard is published as far as it can be."""
        jobs = [Run(job) for job in self.api.list("batch/v1", "Job")]
        failed = {run.name for run in jobs if run.phase == "Failed"}
        held = {pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] for pod in self.list_gpu_pods()}
        return all(run.is_over or run.full in held or self.publishes_for(run) in failed for run in jobs)

    def publishes_for(self, run):
        """The evaluation whose leaderboard a Job publishes; empty for a run."""
        return run.full.rpartition("-report-")[0]

    def pods(self, job):
        return self.api.list("v1", "Pod", label_selector=f"batch.kubernetes.io/job-name={job}")

    def list_gpu_pods(self):
        """Pods that hold GPUs: they run, on and on."""
        found = [pod for pod in self.api.list("v1", "Pod") if pod["status"]["phase"] == "Running"]
        return [pod for pod in found if self.kubelet.running.get(pod["metadata"]["uid"], pod) is None]

    def gpus(self):
        """Which Jobs' pods hold GPUs."""
        return {pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] for pod in self.list_gpu_pods()}

    def cells(self):
        """Finished and begun cells."""
        folder = self.kubelet.work / "cells"
        return set(os.listdir(folder)) if folder.is_dir() else set()
