"""The `maskmill` command without servers: what it loads, and texts that come from elsewhere."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from maskmill import exit_codes
from maskmill.errors import BrokerUnavailable, ModelRefused, UsageError
from maskmill.schema import Counts, FailureExample, JobState, JobStatus
from maskmill.settings import Settings
from maskmill_producer.cli import display, folders
from maskmill_producer.cli.exits import exit_code
from maskmill_producer.cli.lifecycle import age
from maskmill_producer.cli.main import app
from maskmill_producer.cli.progress import job_bar
from maskmill_producer.embedded import EmbeddedServersFailed
from maskmill_producer.entry import main
from maskmill_producer.local.mirror import Mirrored
from maskmill_worker import cli as worker_cli
from tests.conftest import hear_ctrl_c

HEAVY = {
    "PIL",
    "boto3",
    "celery",
    "httpx",
    "kombu",
    "maskmill.client",
    "maskmill.schema",
    "maskmill_producer.embedded",
    "maskmill_producer.local",
    "maskmill_producer.report",
    "numpy",
    "psutil",
    "pyarrow",
    "pydantic_settings",  # typer loads pydantic itself
    "redis",
    "stamina",
    "structlog",
}

LOADED = """
import sys
from maskmill_producer.entry import main
sys.argv = ["maskmill", *sys.argv[1:]]
try:
    main()
finally:
    print("loaded:", *sys.modules)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["servers", "--help"], ["submit", "--help"]])  # fmt: skip  # noqa: E501
def test_help_loads_neither_client_nor_servers_nor_pictures(arguments: list[str]) -> None:
    result = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, timeout=600)
    loaded = set(result.stdout.partition("loaded:")[2].split())
    assert "typer" in loaded, result.stderr
    assert loaded & HEAVY == set()


WAITS = """
import atexit, sys, threading
from maskmill_producer.entry import main
atexit.register(lambda: (print("at its end", flush=True), threading.Event().wait()))
sys.argv = ["maskmill", "--version"]
main()
"""


def test_ctrl_c_once_more_ends_what_python_waits_for_at_its_end_without_a_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    assert process.stdout
    while process.stdout.readline() != "at its end\n":
        pass
    process.send_signal(signal.SIGINT)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", -signal.SIGINT)


def test_the_package_loads_what_is_asked_for() -> None:
    shown = "print('maskmill.schema' in sys.modules, dir(maskmill))"
    text = f"import sys, maskmill; {shown}; from maskmill import Client, Spec"
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=600, check=True)
    assert result.stdout.startswith("False")
    assert "'Client'" in result.stdout
    with pytest.raises(ImportError, match="Clinet"):
        from maskmill import Clinet  # type: ignore[attr-defined]  # noqa: F401


def test_the_version_is_the_package_s() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"maskmill {version('maskmill')}\n"


@pytest.mark.parametrize("command", ["run", "bench", "submit"])
def test_each_option_of_a_job_is_explained_once(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "140", "TERM": "dumb"}).stdout
    for option in ("--model", "--subtask", "--threshold", "--scale", "--batch-size", "--deterministic"):
        assert len(re.findall(rf"│ {option} ", shown)) == 1, option
    assert "What changes the masks" in shown
    assert ("--priority" in shown, "--overwrite" in shown) == (command == "submit", command != "bench")


def test_a_worker_takes_its_limit_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Settings] = []
    monkeypatch.setattr(worker_cli, "_prepare", lambda *_: None)
    monkeypatch.setattr(worker_cli, "_serve", lambda settings, *_: served.append(settings))
    monkeypatch.setattr(worker_cli.os, "environ", dict(os.environ))
    assert CliRunner().invoke(worker_cli.cli, ["--max-image-pixels", "1234"]).exit_code == 0
    assert [settings.max_image_pixels for settings in served] == [1234]


# Texts from elsewhere

ODD = "photos [raw]/[/x] [red]:smile: \x1b[2J\nend"


def status(text: str) -> JobStatus:
    return JobStatus(
        job="20261122-205301-9f86d081",
        out=f"s3://b/{text}",
        state=JobState.CANCELLED,
        reason=text,
        submitted=1,
        counts=Counts(failed=1),
        failures={"not_found": 1},
        warnings={"first_frame": 1234},
        examples={
            "not_found": FailureExample(uri=text, reason=text),
            "first_frame": FailureExample(uri=text, reason=f"of {text}"),
        },
        shards=1,
        shards_done=1,
    )


def test_texts_from_elsewhere_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    display.say(ODD)
    display.remark(ODD)
    display.print_line("uri", ODD)
    display.print_error("code", ODD, as_json=False)
    display.print_end(status(ODD))
    display.print_jobs([status(ODD)])
    said = capsys.readouterr()
    shown = said.out + said.err
    assert shown.count("photos [raw]/[/x] [red]:smile: \\x1b[2J") >= 6
    assert "\x1b[2J" not in shown
    assert "\nend" not in shown.replace("error: photos [raw]/[/x] [red]:smile: \\x1b[2J\nend", "")


def test_warnings_are_told_with_their_number_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_end(status("many frames"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["warned", "code", "for", "example"],
        ["1,234", "first_frame", "of", "many", "frames"],
    ]
    assert display.status_json(status(""))["warnings"] == {"first_frame": 1234}


def test_the_title_of_a_bar_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200, markup=False, emoji=False, color_system=None)
    monkeypatch.setattr(display, "errors", console)
    with job_bar(ODD) as show:
        show(status(ODD))
    assert "photos [raw]/[/x] [red]:smile: \\x1b[2J" in screen.getvalue()
    assert "1 failed" in screen.getvalue()


# Small things


@pytest.mark.parametrize(
    ("text", "span"),
    [("45m", timedelta(minutes=45)), ("12h", timedelta(hours=12)), ("30d", timedelta(30)), ("2w", timedelta(14))],
)
def test_an_age_is_a_number_and_a_unit(text: str, span: timedelta) -> None:
    assert age(text) == span


@pytest.mark.parametrize("text", ["", "d", "30", "-1d", "1.5d", "30 d", "30y", "٣d"])
def test_any_other_age_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        age(text)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EmbeddedServersFailed("down"), exit_codes.UNAVAILABLE),
        (BrokerUnavailable("down"), exit_codes.UNAVAILABLE),
        (ModelRefused("no"), exit_codes.MODEL),
        (UsageError("no"), exit_codes.USAGE),
    ],
)
def test_an_error_s_class_decides_the_exit_code(error: UsageError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1536, "1.5 kB"), (250_000, "250 kB"), (3_200_000_000, "3.2 GB")]
)
def test_sizes_are_in_the_unit_that_reads_best(number: int, text: str) -> None:
    assert display.size(number) == text


@pytest.mark.parametrize(("number", "words"), [(1, "1 was there"), (2, "2 were there")])
def test_masks_that_were_there_are_counted_in_words(
    number: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.print_masks(Mirrored(copied=2, there=number), Path("out"))
    assert capsys.readouterr().out == f"{number + 2} masks in out ({words} already)\n"


def test_what_holds_a_job_up_is_said_once_and_with_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    status = JobStatus(
        job="20261122-205301-9f86d081",
        out="s3://b/o",
        state=JobState.RUNNING,
        submitted=3,
        counts=Counts(),
        shards=1,
        shards_done=0,
        trouble="object_forbidden: s3://b/o: access denied [/x]",
    )
    with job_bar("segmenting") as show:
        show(status)
        show(status)
    display.print_end(status)
    said = capsys.readouterr()
    assert said.err.count("held up, and tried again: object_forbidden: s3://b/o: access denied [/x]") == 1
    assert said.out.count("held up, and tried again: object_forbidden") == 1


@pytest.mark.parametrize(
    ("option", "given", "meant"), [("--subtask", "panoptc", "panoptic"), ("--dtype", "float-32", "float32")]
)
def test_a_value_that_there_is_not_is_named_with_the_one_that_was_meant(option: str, given: str, meant: str) -> None:
    said = CliRunner().invoke(app, ["run", "photos", option, given], env={"COLUMNS": "400"})
    assert said.exit_code == exit_codes.USAGE
    assert f"{given!r} is none of " in said.output
    assert f"; did you mean {meant!r}?" in said.output


# Ways in


@pytest.mark.parametrize("arguments", [["-h"], ["run", "-h"], ["servers", "-h"], ["servers", "start", "-h"]])
def test_h_is_help_everywhere(arguments: list[str]) -> None:
    short, long = (CliRunner().invoke(app, [*arguments[:-1], option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.output == long.output


def test_the_worker_s_h_is_help_too() -> None:
    short, long = (CliRunner().invoke(worker_cli.cli, [option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.output == long.output


def test_python_m_is_the_command() -> None:
    assert printed_by(sys.executable, "-m", "maskmill", "--version") == f"maskmill {version('maskmill')}\n"


MASKMILL = str(Path(sys.executable).parent / "maskmill")


def printed_by(*command: str, **variables: str) -> str:
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_are_completions_for_each_shell(shell: str) -> None:
    assert "complete_" + shell in printed_by(MASKMILL, _MASKMILL_COMPLETE=f"source_{shell}")


def test_the_shell_that_it_is_called_from_completes_it(tmp_path: Path) -> None:
    """Which one that is, is looked for among the processes that it comes from."""
    printed_by("bash", "-c", '"$0" --install-completion && true', MASKMILL, HOME=str(tmp_path))
    assert "_MASKMILL_COMPLETE" in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    asked = {"_MASKMILL_COMPLETE": "complete_bash", "COMP_WORDS": "maskmill servers st", "COMP_CWORD": "2"}
    assert printed_by(MASKMILL, **asked).split() == ["start", "status", "stop"]


def test_ctrl_c_before_any_command_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    early = typer.Typer()

    @early.callback(invoke_without_command=True)
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("signal.signal", lambda *_: None)
    as_json = '{"error": "interrupted", "reason": "stopped"}'
    for app_, arguments, said in ((early, [], "error: stopped"), (interrupted, ["--json"], as_json)):
        monkeypatch.setattr("maskmill_producer.cli.main.app", app_)
        monkeypatch.setattr("sys.argv", ["maskmill", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code, capsys.readouterr().err) == (130, f"{said}\n")
