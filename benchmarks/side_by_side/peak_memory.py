"""Peak of the resident memory of the calling process, as Linux counts it."""

import pathlib

_RESET_PEAK = "5"  # proc(5), /proc/pid/clear_refs


def reset_peak():
    """Lets the peak begin anew at what the process holds now."""
    pathlib.Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def peak_bytes():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def available_bytes():
    """What the machine could still give to programs."""
    status = pathlib.Path("/proc/meminfo").read_text()
    return int(status.split("MemAvailable:")[1].split()[0]) * 1024
