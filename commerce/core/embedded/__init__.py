"""The engines of a market on one machine: PostgreSQL, Valkey and SeaweedFS as child processes in a data
folder.

    with Engines(data_dir) as engines:
        environ = os.environ | engines.environment()

On loopback, on free ports, with generated secrets; each is left out when its URL is in the environment. They
are started in parallel, restarted when they die (same port, same data) and never outlive the process that
holds them.
"""

from commerce.core.embedded.engines import Engines, valkey_alone
from commerce.core.embedded.errors import EngineError, EngineFailed, FolderInUse, FolderUnusable
from commerce.core.embedded.folder import DataFolder, temporary_folder

__all__ = [
    "DataFolder",
    "EngineError",
    "EngineFailed",
    "Engines",
    "FolderInUse",
    "FolderUnusable",
    "temporary_folder",
    "valkey_alone",
]
