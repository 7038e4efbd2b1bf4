"""--log: the rows of lanes, for a viewer, while they train."""

from collections.abc import Sequence
from pathlib import Path

from experiments.runner import lane_results, loop
from experiments.runner.training import Training
from rnnlab.results import tensorboard
from rnnlab.results.records import Summary


class Logs:
    """A log for each lane, with all its rows so far; none without --log."""

    def __init__(
        self, progress: loop.Progress, folders: Sequence[Path], configs: Sequence[Training]
    ) -> None:
        self.rows = [lane_results.rows(progress, lane) for lane in range(progress.trials)]
        self.paths = [
            tensorboard.begin(folder, config.to_json(), rows)
            for folder, config, rows in zip(folders, configs, self.rows, strict=True)
            if config.log
        ]

    def append(self, progress: loop.Progress) -> None:
        """Appends the rows since the last time."""
        for lane, path in enumerate(self.paths):
            rows = self.rows[lane]
            for row in lane_results.rows(progress, lane, begin=len(rows)):
                tensorboard.append(path, row)
                rows.append(row)

    def end(self, summaries: Sequence[Summary | None]) -> None:
        """Appends the results of each lane; None of one without."""
        for path, summary in zip(self.paths, summaries, strict=False):
            if summary:
                tensorboard.end(path, summary)
