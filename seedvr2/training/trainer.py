"""The trainer: runs stages one after the other. It knows nothing of what they train."""

from collections.abc import Sequence

from seedvr2.io.files import disk_errors
from seedvr2.io.images import write_image
from seedvr2.models.memory import release
from seedvr2.optim.trainee import Diverged
from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.parallel.watch import Watch
from seedvr2.training.builder import ModelBuilder
from seedvr2.training.catalogue import Catalogue, exported
from seedvr2.training.checkpoint import Checkpointer
from seedvr2.training.plan.work import clip_flops
from seedvr2.training.run import Run
from seedvr2.training.speed import Speed, measured_peak
from seedvr2.training.stage import Stage
from seedvr2.training.tracker import Tracker
from seedvr2.training.validation import validate
from seedvr2.training.weights import export


class Interrupted(Exception):
    """The run was asked to stop by the signal `number`; a checkpoint is written."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


class Trainer:
    """Runs the stages of a run; finished stages are skipped, an interrupted one continues.

    Every rank runs this loop; only the main one writes and prints.
    """

    def __init__(
        self,
        run: Run,
        stages: Sequence[Stage],
        tracker: Tracker,
        weights: Catalogue | None = None,
        runtime: Runtime | None = None,
        watch: Watch | None = None,
    ):
        self.run, self.stages, self.tracker = run, stages, tracker
        self.weights = weights or Catalogue()
        self.runtime = runtime or Runtime(Parallelism(), run.device)
        self.watch = watch or Watch(self.runtime, timeout=60 * self.runtime.mesh.settings.timeout)
        self.writers = self.runtime.group()  # of all stages: each holds connections to all ranks

    def fit(self) -> None:
        """Train every stage that is not finished. Raises Interrupted after SIGTERM or SIGINT."""
        weights = self.weights
        memory: dict = {}  # feeds keep what later stages can use again
        try:
            for stage in self.stages:
                final = self.run.folder / stage.name / "final"
                if self.runtime.of_main(final.is_dir()):
                    self.say(f"stage {stage.name} is finished: skipped")
                else:
                    self.train(stage, weights, memory)
                    release(self.runtime.device)  # networks lie in cycles of references
                weights.add_stage(stage.name, final, self.runtime.of_main(exported(final)))
        finally:
            self.tracker.close()

    def train(self, stage: Stage, weights: Catalogue, memory: dict) -> None:
        """Train one stage to its end and export its networks."""
        folder = self.run.folder / stage.name
        self.watch.beat(f"stage {stage.name}: building its networks")
        build = ModelBuilder(self.runtime, self.run.seed, stage.name, half=self.run.half)
        objective = stage.objective(build=build, weights=weights, iterations=stage.iterations)
        feed = stage.feed(build=build, weights=weights, seed=self.run.seed, stage=stage.name, memory=memory)
        self.run.record()
        kept = {"keep": self.run.keep, "archive_every": self.run.archive_every}
        checkpoint = Checkpointer(folder / "checkpoints", objective.stateful, **kept, group=self.writers)
        try:
            self._run_steps(stage, objective, feed, checkpoint)
            checkpoint.wait()
        finally:
            checkpoint.join()
        self.watch.beat(f"stage {stage.name}: exporting")
        with objective.averaged(), disk_errors(folder / "final"):
            export(objective.export(), folder / "final", main=self.runtime.main)
        self.runtime.wait()

    def _run_steps(self, stage: Stage, objective, feed, checkpoint: Checkpointer) -> None:
        step = checkpoint.resume()
        self.tracker.rewind(stage.name, step)
        self.say(f"stage {stage.name}: {stage.iterations} iterations" + (f", continuing at {step}" if step else ""))
        speed, is_due = self.speed(stage, feed), False
        self.watch.beat(f"stage {stage.name} step {step + 1}: waiting for data")
        for batches in speed.waits(feed.batches(step, stage.iterations, stage.accumulate)):
            self.watch.beat(f"stage {stage.name} step {step + 1}: update")
            try:
                with self.run.autocast():
                    metrics = objective.step(batches)
            except Diverged as error:
                checkpoint.wait()
                kept = checkpoint.steps()
                place = f"continues at checkpoint {kept[-1]}, which is from before" if kept else "begins the stage anew"
                raise Diverged(f"{error}; the same command {place}") from error
            step += 1
            self.watch.beat(f"stage {stage.name} step {step}: recording and saving")
            more = self.measure(stage, objective, feed, batches, step, speed)
            if more or self.tracker.due(step, stage.iterations):
                # the tracker takes the mean over the ranks, of which those that share a clip count alike
                how = {**speed.read(), "data/failures": feed.failures.count * self.runtime.mesh.data_size}
                self.tracker.log(stage.name, step, stage.iterations, {**metrics, **more}, how)
            number = self.runtime.largest(self.run.interrupted)
            is_due |= bool(stage.save_every) and (step % stage.save_every == 0 or step == stage.iterations)
            # while updates are skipped, what was saved before them must stay
            if number or (is_due and not any(getattr(x, "skipped_in_a_row", 0) for x in objective.stateful.values())):
                is_due = False
                with speed.paused():
                    checkpoint.save(step)
                    if number or self.run.device.type == "cpu":  # there, writing would only slow the next steps
                        checkpoint.wait()
            if number:
                message = f"stopped in stage {stage.name} after step {step}: the same command continues"
                raise Interrupted(message, number)
            self.watch.beat(f"stage {stage.name} step {step + 1}: waiting for data")

    def say(self, line: str) -> None:
        """Print a line once."""
        if self.runtime.main:
            print(line, flush=True)

    def speed(self, stage: Stage, feed) -> Speed:
        """The clock of a stage. A share of the peak needs to know the peak, stated or measured, and the FLOPs."""
        runtime = self.runtime
        peak = self.tracker.peak or measured_peak(runtime.device)
        return Speed(
            runtime.device,
            feed.grids,
            flops=clip_flops(stage) if peak else None,
            peak=peak,
            data=runtime.mesh.data_size,
            world=runtime.world,
            largest=runtime.largest,
        )

    def measure(self, stage: Stage, objective, feed, batches: Sequence, step: int, speed: Speed) -> dict:
        """What is only looked at now and then: what the objective diagnoses, and the fixed clips with their picture."""
        found = {}
        if self.tracker.terms_due(step) and hasattr(objective, "diagnose"):
            with speed.paused(), self.run.autocast():
                found |= objective.diagnose(batches)
        if stage.preview_every and (step % stage.preview_every == 0 or step == stage.iterations):
            with speed.paused():
                scores, picture = validate(objective, feed, self.run.autocast)
            found |= scores
            if self.runtime.main:
                folder = self.run.folder / stage.name / "samples"
                with disk_errors(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    write_image(folder / f"{step:08d}.png", picture)
                self.tracker.show(stage.name, step, picture)
        return found
