"""The environment in which tests start OpenMPI's mpirun."""

import tempfile

# For all that this process starts. OpenMPI 4's mpirun keeps its files in one folder for all groups of a user, and the last to end
# removes it: one that starts just then fails. Tests of another process, of another suite even, end whenever they like.
_files = tempfile.TemporaryDirectory(prefix="sinkstream-", ignore_cleanup_errors=True)

AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
FOR_MPIRUN = AS_ROOT | {"TMPDIR": _files.name}
