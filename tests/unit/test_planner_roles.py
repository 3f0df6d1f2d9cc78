"""Plans of fleets whose roles have timeouts of their own."""

import json
from dataclasses import replace

import pytest

from hangup.cli.app import main
from hangup.core.guard import Activity
from hangup.planner.fleet import Fleet, FleetContradiction, RoleTimeout
from hangup.planner.model import estimate_sweep, inline_lateness_s, queued_per_sweep

FLEET = Fleet()


def roles(**timeouts: tuple[float, float]) -> dict[str, RoleTimeout]:
    return {
        role: RoleTimeout(idle_timeout_s=timeout_s, share=share)
        for role, (timeout_s, share) in timeouts.items()
    }


@pytest.mark.parametrize("activity", Activity)
def test_roles_with_the_timeout_of_all_others_change_nothing(activity: Activity) -> None:
    fleet = replace(FLEET, activity=activity)
    same = replace(fleet, timeouts_by_role=roles(speaker=(120, 0.25), listener=(120, 0.5)))
    assert same.questions_per_second == pytest.approx(fleet.questions_per_second)
    assert queued_per_sweep(same) == pytest.approx(queued_per_sweep(fleet))
    assert same.silent_kept == 0
    assert estimate_sweep(same) == estimate_sweep(fleet)


def test_a_role_of_everybody_is_planned_as_a_fleet_with_its_timeout() -> None:
    everybody = roles(speaker=(300, 1))
    for fleet in (replace(FLEET, activity=Activity.GATEWAY), replace(FLEET, heartbeat_s=100)):
        by_role, alone = (
            replace(fleet, timeouts_by_role=everybody),
            replace(fleet, idle_timeout_s=300),
        )
        assert by_role.questions_per_second == pytest.approx(alone.questions_per_second)
        assert queued_per_sweep(by_role) == pytest.approx(queued_per_sweep(alone))


def test_the_filter_returns_silent_records_of_the_slower_roles_and_closes_are_not_later() -> None:
    fleet = replace(FLEET, timeouts_by_role=roles(speaker=(300, 0.1)))
    assert fleet.silent_kept == pytest.approx(fleet.idle_closes_per_second * 0.1 * 180)
    shorter = replace(FLEET, timeouts_by_role=roles(listener=(60, 0.4)))
    assert shorter.silent_kept == pytest.approx(shorter.idle_closes_per_second * 0.6 * 60)
    late = inline_lateness_s(FLEET, estimate_sweep(FLEET))
    assert inline_lateness_s(fleet, estimate_sweep(fleet)) == late


@pytest.mark.parametrize(
    ("timeouts", "field", "why"),
    [
        (roles(a=(300, 0.6), b=(60, 0.6)), "timeouts_by_role", "add up to 1.2"),
        (roles(a=(30, 0.1)), "heartbeat_s", "the idle timeout of 30 s must be longer"),
    ],
)
def test_refuses_what_contradicts_itself(
    timeouts: dict[str, RoleTimeout], field: str, why: str
) -> None:
    with pytest.raises(FleetContradiction, match=why) as refused:
        replace(FLEET, timeouts_by_role=timeouts)
    assert field in refused.value.fields


class TestCommand:
    def test_prints_the_timeouts_and_the_records_that_are_kept(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["plan", "--timeouts-by-role", "speaker=300:0.1,listener=60:0.5"]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert "Idle timeout 120 s, speaker (10.0%) 300 s, listener (50.0%) 60 s," in out
        assert "silent, kept until their own timeout 66.7" in out
        assert main(["plan"]) == 0
        assert "kept until" not in capsys.readouterr().out

    def test_has_them_in_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "--json", "--timeouts-by-role", "speaker=300:0.1"]) == 0
        fleet = json.loads(capsys.readouterr().out)["fleet"]
        assert fleet["timeouts_by_role"] == {"speaker": {"idle_timeout_s": 300, "share": 0.1}}

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ("speaker=300", "is not a number from 0 to 1"),
            ("speaker=300:2", "is not a number from 0 to 1"),
            ("speaker=0:0.5", "is not ROLE=SECONDS:SHARE"),
            ("a b=300:0.5", "is not ROLE=SECONDS:SHARE"),
            ("a=300:0.5,a=60:0.1", "a role is named twice"),
            ("a=300:0.6,b=60:0.6", "--timeouts-by-role: the shares of the roles add up to 1.2"),
        ],
    )
    def test_refuses_what_it_cannot_plan(
        self, value: str, why: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        try:
            status: object = main(["plan", "--timeouts-by-role", value])
        except SystemExit as ended:
            status = ended.code
        assert status not in (0, None)
        assert why in " ".join(capsys.readouterr().err.split())
