"""Where a scan's records go: what is done, what is still to do, and the finished tables."""

from batchage.results.compaction import compact
from batchage.results.file_sink import make_sink
from batchage.results.sink import Sink
from batchage.results.tally import Tally

__all__ = ["Sink", "Tally", "compact", "make_sink"]
