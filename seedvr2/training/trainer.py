"""The trainer: runs stages one after the other. It knows nothing of what they train."""

from collections.abc import Sequence
from pathlib import Path

import torch

from seedvr2.training.builder import ModelBuilder
from seedvr2.training.catalogue import Catalogue
from seedvr2.training.checkpoint import Checkpointer
from seedvr2.training.preview import psnr, write_sheet
from seedvr2.training.run import Run
from seedvr2.training.stage import Stage
from seedvr2.training.tracker import Tracker, require_finite
from seedvr2.training.weights import export


class Interrupted(Exception):
    """The run was asked to stop; a checkpoint is written."""


class Trainer:
    """Runs the stages of a run; finished stages are skipped, an interrupted one continues."""

    def __init__(self, run: Run, stages: Sequence[Stage], tracker: Tracker, weights: Catalogue | None = None):
        self.run, self.stages, self.tracker = run, stages, tracker
        self.weights = weights or Catalogue()

    def fit(self) -> None:
        """Train every stage that is not finished. Raises Interrupted after SIGTERM or SIGINT."""
        weights = self.weights
        memory: dict = {}  # feeds keep what later stages can use again
        for stage in self.stages:
            final = self.run.folder / stage.name / "final"
            if final.is_dir():
                print(f"stage {stage.name} is finished: skipped", flush=True)
            else:
                self.train(stage, weights, memory)
            weights.add_stage(stage.name, final)

    def train(self, stage: Stage, weights: Catalogue, memory: dict) -> None:
        """Train one stage to its end and export its networks."""
        folder = self.run.folder / stage.name
        build = ModelBuilder(self.run.device, self.run.seed, stage.name)
        objective = stage.objective(build=build, weights=weights, iterations=stage.iterations)
        feed = stage.feed(build=build, weights=weights, seed=self.run.seed, stage=stage.name, memory=memory)
        checkpoint = Checkpointer(folder / "checkpoints", objective.stateful)
        step = checkpoint.resume()
        self.tracker.lines.rewind(stage.name, step)
        print(
            f"stage {stage.name}: {stage.iterations} iterations" + (f", continuing at {step}" if step else ""),
            flush=True,
        )
        for batches in feed.batches(step, stage.iterations, stage.accumulate):
            with self.run.autocast():
                metrics = objective.step(batches)
            step += 1
            if stage.preview_every and (step % stage.preview_every == 0 or step == stage.iterations):
                metrics = metrics | self.preview(objective, feed, folder / "samples" / f"{step:08d}.png")
            if self.tracker.due(step, stage.iterations):
                self.tracker.log(stage.name, step, stage.iterations, metrics)
            if self.run.interrupted or (stage.save_every and step % stage.save_every == 0):
                require_finite(stage.name, step, metrics)
                checkpoint.save(step)
            if self.run.interrupted:
                raise Interrupted(f"stopped in stage {stage.name} after step {step}: the same command continues")
        with objective.averaged():
            export(objective.export(), folder / "final")

    @torch.no_grad()
    def preview(self, objective, feed, path: Path) -> dict[str, float]:
        """Score the fixed samples and write their picture."""
        batch, clips = feed.preview()
        with objective.averaged(), self.run.autocast():
            results = feed.frames(objective.preview(batch))
        write_sheet(
            path, [[lq.cpu(), made.float().cpu(), hq.cpu()] for (hq, lq), made in zip(clips, results, strict=True)]
        )
        scores = [psnr(made.float().cpu(), hq) for (hq, _), made in zip(clips, results, strict=True)]
        return {"preview_psnr": sum(scores) / len(scores)}
