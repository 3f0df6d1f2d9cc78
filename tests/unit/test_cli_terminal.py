"""The command line on a terminal, in a pipe, and where somebody wants no colours."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.cloudformation_stub import CloudFormation, assert_one_sentence
from tests.support.terminal import HANGUP, on_terminal, plain_environment, without_escapes

# Each test starts the command line, most of them several times.
pytestmark = pytest.mark.slow

ESCAPE = "\x1b"
PLAN = [*HANGUP, "plan"]
PLAIN = [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}]

DEMO = """
import sys
from hangup.cli.demo import _Columns, _Lines
from hangup.local.demo.story import Scene, Step, Verdict
holds = sys.argv[1] == "holds"
show = _Columns() if sys.stdout.isatty() else _Lines()
show.tell(Step("Starting an AWS emulator on this machine (loopback only)"))
show.tell(Step("Deploying the stack"))
who = ("Cleo", "listener", "astronomy")
for number in range(3):
    show.tell(Scene(at_s=number * 60.26, who=who, what="falls silent.", brief="falls silent"))
brief = "joins, sends heartbeats, one a second"
show.tell(Scene(at_s=4.0, who=who, what="joins.", brief=brief))
show.tell(Scene(at_s=5.0, who=None, what="A sweep checks 8.", brief="8 checked, 3 closed"))
show.tell(Step("Checking clients, tables and metrics"))
long = "each of the 2 listeners of the ended session was notified, got no timeout notice, and left"
checks = [("the table is empty", True), (long, holds)]
show.close(Verdict(checks=checks, silent=3, notified=2, talking=3, sweeps=7, seconds=14.2,
    idle_timeout_s=4, precise=False))
"""


def in_pipe(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*HANGUP, *arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=plain_environment(**environment),
    )


class TestColours:
    def test_a_terminal_gets_them(self) -> None:
        screen = on_terminal(PLAN)
        assert screen.status == 0
        assert f"{ESCAPE}[1mCOST, USD for 30 days" in screen.output

    def test_an_empty_no_color_says_nothing(self) -> None:
        assert ESCAPE in on_terminal(PLAN, environment=plain_environment(NO_COLOR="")).output

    @pytest.mark.parametrize("environment", PLAIN)
    def test_who_wants_none_gets_none(self, environment: dict[str, str]) -> None:
        for command in (PLAN, [*HANGUP, "--help"], [*PLAN, "--heartbeat", "0"], HANGUP):
            screen = on_terminal(command, environment=plain_environment(**environment))
            assert ESCAPE not in screen.output
            assert "hangup" in screen.output or "COST" in screen.output

    @pytest.mark.parametrize(
        "arguments", [["plan"], ["plan", "--json"], ["--help"], ["plan", "--help"], ["plan", "-x"]]
    )
    def test_a_pipe_gets_none(self, arguments: list[str]) -> None:
        done = in_pipe(*arguments, FORCE_COLOR="1", GITHUB_ACTIONS="true", PY_COLORS="1")
        assert ESCAPE not in done.stdout + done.stderr
        assert done.stdout + done.stderr

    def test_an_error_has_them_on_a_terminal(self) -> None:
        screen = on_terminal([*PLAN, "--heartbeat", "0"])
        assert screen.status == 2
        assert ESCAPE in screen.output
        assert "hangup plan: Invalid value for '--heartbeat': '0' is not a number" in "".join(
            without_escapes(screen.output)
        )


class TestHelp:
    def test_is_drawn_on_a_terminal_in_groups(self) -> None:
        lines = on_terminal([*HANGUP, "--help"]).lines
        drawn = [line for line in lines if line.startswith("╭─")]
        assert [line.strip("╭─╮ ") for line in drawn] == [
            "Options",
            "Completion",
            "On this machine",
            "Your own application",
            "Any deployment",
            "The deployed reference stack",
            "Planning",
        ]
        assert max(map(len, lines)) <= 80

    @pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LANG": ""}, {"LC_ALL": "POSIX"}])
    def test_has_no_boxes_where_they_cannot_be_shown(self, locale: dict[str, str]) -> None:
        screen = on_terminal([*HANGUP, "--help"], environment=plain_environment(**locale))
        assert screen.output.isascii()
        assert "On this machine:" in screen.lines

    def test_has_the_same_groups_in_a_pipe(self) -> None:
        lines = in_pipe("--help").stdout.splitlines()
        assert [line for line in lines if line.endswith(":") and line[0] != " "] == [
            "On this machine:",
            "Your own application:",
            "Any deployment:",
            "The deployed reference stack:",
            "Planning:",
            "Options:",
            "Completion:",
            "Example:",
            "Exit status:",
        ]
        assert max(map(len, lines)) <= 80


class TestSpinner:
    def test_turns_on_a_terminal_with_words_and_leaves_nothing(self) -> None:
        screen = on_terminal(PLAN, errors_apart=True)
        assert "Working out the plan ..." in screen.errors
        assert "⠋" in screen.errors
        assert "Working" not in screen.output
        # It hides the cursor while it turns.
        hidden, _, shown = screen.errors.rpartition(f"{ESCAPE}[?25h")
        assert f"{ESCAPE}[?25l" in hidden
        assert f"{ESCAPE}[?25l" not in shown

    def test_is_ascii_where_it_must_be(self) -> None:
        environment = plain_environment(LANG="C")
        screen = on_terminal(PLAN, environment=environment, errors_apart=True)
        assert "Working out the plan ..." in screen.errors
        assert screen.errors.isascii()

    def test_is_a_line_where_nobody_wants_it(self) -> None:
        environment = plain_environment(NO_COLOR="1")
        screen = on_terminal(PLAN, environment=environment, errors_apart=True)
        assert screen.errors == "Working out the plan ...\r\n"

    def test_a_pipe_gets_none(self) -> None:
        assert in_pipe("plan").stderr == ""

    def test_makes_room_for_the_lines_that_are_printed_meanwhile(self) -> None:
        program = (
            "from hangup.cli.output import say, say_aside, say_progress, waiting\n"
            "with waiting('Reading'):\n"
            "    say('a result')\n"
            "    say_aside('an aside')\n"
            "    say_progress('reading on')\n"
            "say('the end')\n"
        )
        screen = on_terminal([sys.executable, "-c", program])
        assert [line for line in screen.lines if "..." not in line and line] == [
            "a result",
            "hangup: an aside",
            "the end",
        ]
        assert "reading on ..." in screen.output


class TestInterruption:
    def test_ctrl_c_while_aws_is_asked_is_status_130_and_one_sentence(
        self, stack: CloudFormation
    ) -> None:
        stack.hold()
        screen = on_terminal(
            [*HANGUP, "check"],
            errors_apart=True,
            type_when=lambda _written: bool(stack.asked),
        )
        stack.let_go()
        assert screen.status == 130
        assert "Traceback" not in screen.output + screen.errors
        assert screen.errors.count(f"{ESCAPE}[?25l") == screen.errors.count(f"{ESCAPE}[?25h")
        # What the terminal itself shows of the key, and the spinner.
        assert without_escapes(screen.output.replace("^C", "")) == [""]
        *_, said, end = without_escapes(screen.errors)
        assert said.strip() == "hangup: interrupted: nothing is changed; run it again"
        assert end == ""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize(
        "arguments", [["check"], ["redrive"], ["token", "--session", "s", "--role", "speaker"]]
    )
    def test_so_are_signals_of_others(
        self, stack: CloudFormation, arguments: list[str], number: int
    ) -> None:
        stack.hold()
        program = (
            "import signal, sys\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from hangup.cli.app import main\n"
            "sys.exit(main())\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            stack.wait_until_asked()
            process.send_signal(number)
            done = process.communicate(timeout=60)
        stack.let_go()
        output, errors = done
        assert (process.returncode, output) == (130, "")
        assert errors.startswith("hangup: interrupted: ")
        assert_one_sentence(errors)


@pytest.mark.parametrize(
    "arguments", [["check"], ["redrive"], ["token", "--session", "s", "--role", "speaker"]]
)
def test_whoever_stops_reading_ends_it_without_a_word(
    stack: CloudFormation, arguments: list[str]
) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([*HANGUP, *arguments], stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (130, b"")


def test_the_first_lines_are_enough_for_head() -> None:
    command = f"{' '.join(PLAN)} --connections 1000000 | head -3; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    *lines, status = done.stdout.splitlines()
    assert len(lines) == 3
    # All of it may have been written before head had left.
    assert status in {"0", "130"}
    assert done.stderr == ""


class TestDemo:
    """What it looks like; ``tests/integration`` runs it."""

    @pytest.mark.parametrize("columns", [40, 60, 80, 200])
    def test_columns_fit_the_terminal_and_80_characters(self, columns: int) -> None:
        screen = on_terminal([sys.executable, "-c", DEMO, "holds"], columns=columns)
        header = next(number for number, line in enumerate(screen.lines) if "WHO" in line)
        printed = [line for line in screen.lines[header:] if "Checking" not in line]
        assert max(map(len, printed)) <= min(columns, 80)
        assert "Everything is as promised" in " ".join(printed)

    def test_columns_are_aligned(self) -> None:
        lines = on_terminal([sys.executable, "-c", DEMO, "holds"]).lines
        header = next(line for line in lines if "WHO" in line)
        rows = lines[lines.index(header) + 1 :][:5]
        for title, cell in (("WHO", "Cleo"), ("ROLE", "listener"), ("SESSION", "astronomy")):
            assert {row.find(cell) for row in rows[:4]} == {header.index(title)}
        assert {row.find("falls") for row in rows[:3]} == {header.index("WHAT")}
        assert rows[4].index("8 checked") == header.index("WHAT")

    def test_has_ticks_and_a_summary(self) -> None:
        screen = on_terminal([sys.executable, "-c", DEMO, "holds"])
        assert f"{ESCAPE}[32m" in screen.output
        assert "  ✔    the table is empty" in screen.lines
        assert "   2  of 2 checks hold; 7 sweeps, in 14 s" in screen.lines
        assert "   3  silent                     notified, closed and cleaned up" in screen.lines

    @pytest.mark.parametrize(
        "environment",
        [{"LANG": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "en_US.ISO-8859-1"}],
    )
    def test_has_no_ticks_where_they_cannot_be_shown(self, environment: dict[str, str]) -> None:
        screen = on_terminal(
            [sys.executable, "-c", DEMO, "holds"], environment=plain_environment(**environment)
        )
        assert "✔" not in screen.output
        assert "  ok   the table is empty" in screen.lines

    def test_names_what_does_not_hold(self) -> None:
        lines = on_terminal([sys.executable, "-c", DEMO, "fails"]).lines
        assert any(line.startswith("  FAIL each of the 2 listeners") for line in lines)
        assert "   1  of 2 checks hold; 7 sweeps, in 14 s" in lines
        assert "Not everything is as promised: see FAIL above." in lines

    def test_is_sentences_in_a_pipe(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", DEMO, "holds"], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[:3] == [
            "Starting an AWS emulator on this machine (loopback only) ...",
            "Deploying the stack ...",
            "   0.0 s  Cleo (listener in astronomy) falls silent.",
        ]
        assert "" in done.stdout.splitlines()
        assert "  ok    the table is empty" in done.stdout.splitlines()
        assert done.stdout.isascii()
