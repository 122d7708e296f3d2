"""A minute of everything that can break: no law may be broken, whatever this machine makes of the pauses."""

import asyncio
import json
import sys

import pytest

from tests.cluster.mutants import MUTANTS
from tests.cluster.nemesis import arguments_of
from tests.cluster.world import ROOT

MINUTE = ["--seed", "7", "--minutes", "1", "--users", "24", "--warm", "1", "--patience", "0"]


@pytest.mark.needs("redis-server")
@pytest.mark.timeout(480)
async def test_a_minute_of_faults_breaks_no_law():
    command = [sys.executable, "-m", "tests.cluster.nemesis", "--json", *MINUTE]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    found = json.loads(said)
    assert (found["violations"], process.returncode) == ([], 0)
    assert found["turns"] > 20
    assert sum(each["count"] for each in found["faults"].values()) >= 3


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_still_be_planted(mutant):
    for name, old, _ in mutant.edits:
        assert (ROOT / name).read_text("utf-8").count(old) == 1


def test_an_unknown_fault_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        arguments_of(["--faults", "kill,lightning"])
    assert "lightning is none of kill" in capsys.readouterr().err
