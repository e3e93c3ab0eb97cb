"""Helpers for your own experiments, scripts and notebooks, under one name.

The helpers are defined in runtime/ and configuration/; the project's own files import them from
there and not from here.
"""

from configuration.json_types import format_config, to_plain
from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging, format_seconds, progress
from runtime.errors import UserError, check_choice, nearest
from runtime.files import atomic_path, read_json, write_json
from runtime.machine import num_cores
from runtime.optional_packages import require
from runtime.seeds import counted_seed, seed_everything
from runtime.versions import git_revision, versions

__all__ = [
    "LOGGER",
    "CommandLine",
    "UserError",
    "atomic_path",
    "check_choice",
    "configure_logging",
    "counted_seed",
    "format_config",
    "format_seconds",
    "git_revision",
    "nearest",
    "num_cores",
    "progress",
    "read_json",
    "require",
    "run_command",
    "seed_everything",
    "to_plain",
    "versions",
    "write_json",
]
