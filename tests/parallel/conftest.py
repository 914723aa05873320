"""Process pools: functions run on gloo ranks, which start once and serve all tests of a file."""

import os
import pickle
import queue
import traceback

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def serve(rank: int, world: int, folder: str, tasks, results) -> None:
    """One rank: run what comes, answer with the result or the traceback."""
    torch.set_num_threads(1)
    store = dist.FileStore(os.path.join(folder, "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    while (task := tasks.get()) is not None:
        try:
            function, arguments = pickle.loads(task)
            results.put((rank, None, pickle.dumps(function(*arguments))))
        except BaseException:
            results.put((rank, traceback.format_exc(), None))
    dist.destroy_process_group()


class Pool:
    """Ranks that wait for functions."""

    def __init__(self, world: int, folder):
        context = mp.get_context("forkserver")  # imports once for all ranks
        context.set_forkserver_preload(["torch", "seedvr2.train", __name__])
        self.world, self.results = world, context.Queue()
        self.tasks = [context.Queue() for _ in range(world)]
        self.processes = [
            context.Process(target=serve, args=(rank, world, str(folder), tasks, self.results), daemon=True)
            for rank, tasks in enumerate(self.tasks)
        ]
        for process in self.processes:
            process.start()

    def __call__(self, function, *arguments, timeout: float = 100) -> list:
        """Run a function of an importable module on every rank; their results in the order of ranks."""
        for tasks in self.tasks:
            tasks.put(pickle.dumps((function, arguments)))
        answers, failures = [None] * self.world, []
        for _ in range(self.world):
            try:
                rank, failure, answer = self.results.get(timeout=timeout)
            except queue.Empty:
                break
            if failure:
                failures.append(f"rank {rank}: {failure}")
                timeout = 3  # the others may wait for it for ever
            else:
                answers[rank] = pickle.loads(answer)
        if failures:
            self.close()
            pytest.fail("\n".join(failures), pytrace=False)
        assert all(answer is not None for answer in answers), f"{self.world} ranks, answers: {answers}"
        return answers

    def close(self) -> None:
        """End the ranks."""
        for tasks in self.tasks:
            tasks.put(None)
        for process in self.processes:
            process.join(timeout=3)
            process.kill()


@pytest.fixture(scope="module")  # every group that a test made costs its ranks a thread that wakes 100 times a second
def ranks(tmp_path_factory):
    """Function world -> pool of that many ranks."""
    pools: dict[int, Pool] = {}

    def get(world: int) -> Pool:
        if world not in pools or not all(process.is_alive() for process in pools[world].processes):
            pools[world] = Pool(world, tmp_path_factory.mktemp("ranks"))
        return pools[world]

    yield get
    for pool in pools.values():
        pool.close()
