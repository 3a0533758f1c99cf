"""The published measurements that lie beside the repository, on machines that have them."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/data, published measurements, is absent")
