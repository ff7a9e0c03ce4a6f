"""The pause process: its machine code is its source's, and it does what it should."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.constants import P_FLAGS
from elftools.elf.elffile import ELFFile
from needs import needs

from partialroot.errors import SourceError
from partialroot.host.linux.pause import HEADERS, MACHINES, pause_program

NAMES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
HERE = os.uname().machine
PATIENCE = 120  # seconds
native = pytest.mark.skipif(HERE not in MACHINES, reason=f"there is none for {HERE}")


def assembled(assembler: str, machine: str, scratch: Path) -> bytes:
    """Return the machine code that an assembler makes of a machine's source."""
    source = "".join(f"{line}\n" for line, _ in MACHINES[machine].program)
    subprocess.run([assembler, "-o", scratch / "pause.o", "-"], input=source, text=True, check=True)
    objcopy = f"{assembler.removesuffix('as')}objcopy"
    extract = [objcopy, "-O", "binary", "-j", ".text"]
    subprocess.run([*extract, scratch / "pause.o", scratch / "pause.bin"], check=True)
    return (scratch / "pause.bin").read_bytes()


@native
@needs("gcc")
def test_the_assembler_agrees(tmp_path: Path) -> None:
    assert pause_program(HERE)[HEADERS:] == assembled("as", HERE, tmp_path)


@needs("aarch64")
def test_the_assembler_of_the_other_machine_agrees(tmp_path: Path) -> None:
    assert pause_program("aarch64")[HEADERS:] == assembled("aarch64-linux-gnu-as", "aarch64", tmp_path)


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_it_is_a_static_program_for_its_machine(machine: str) -> None:
    program = pause_program(machine)
    elf = ELFFile(BytesIO(program))
    load, stack = elf.iter_segments()
    assert elf.header["e_machine"] == NAMES[machine]
    assert (load.header["p_type"], stack.header["p_type"]) == ("PT_LOAD", "PT_GNU_STACK")
    assert load.header["p_filesz"] == load.header["p_memsz"] == len(program)
    assert load.header["p_flags"] == P_FLAGS.PF_R | P_FLAGS.PF_X
    assert stack.header["p_flags"] == P_FLAGS.PF_R | P_FLAGS.PF_W


def test_a_machine_it_was_not_written_for() -> None:
    with pytest.raises(SourceError, match="no built-in pause process for vax"):
        pause_program("vax")


@pytest.fixture
def pause(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The program, running."""
    file = tmp_path / "pause"
    file.write_bytes(pause_program(HERE))
    file.chmod(0o755)
    with subprocess.Popen([file]) as process:
        asleep(process.pid)
        yield process
        process.kill()


def asleep(pid: int) -> None:
    """Wait until a process waits."""
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rsplit(") ")[-1][0] != "S":
        assert time.monotonic() < end
        time.sleep(0.005)


@native
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told(pause: "subprocess.Popen[bytes]", number: int) -> None:
    pause.send_signal(number)
    assert pause.wait(PATIENCE) == 0


@native
def test_it_goes_on_waiting_after_an_interruption(pause: "subprocess.Popen[bytes]") -> None:
    pause.send_signal(signal.SIGSTOP)
    pause.send_signal(signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        pause.wait(0.1)
    asleep(pause.pid)
    pause.send_signal(signal.SIGTERM)
    assert pause.wait(PATIENCE) == 0


@native
@needs("root")
def test_it_leaves_orphans_to_the_kernel(pause: "subprocess.Popen[bytes]") -> None:
    status = dict(line.split(":\t") for line in Path(f"/proc/{pause.pid}/status").read_text().splitlines())
    inherited = {one for one in signal.valid_signals() if signal.getsignal(one) is signal.SIG_IGN}
    ignored = {one for one in signal.valid_signals() if int(status["SigIgn"], 16) >> (one - 1) & 1}
    assert signal.SIGCHLD in ignored <= {signal.SIGCHLD, *inherited}
