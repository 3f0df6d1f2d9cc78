"""Deploy the timeout as a stack of its own, beside the user's, and remove it again.

1. A change is worked out and shown before anything is made: the bucket and the code in it too come
   only once the change was agreed to. Whoever declines leaves nothing behind.
2. Only a stack that this made is changed or deleted: it has the tag ``hangup``.
3. A first deployment that failed is removed, with its bucket. An update that failed is rolled back
   by CloudFormation.
4. The stack knows the name of its bucket, so it is made before the bucket and removed after it.
5. Whatever state an interrupted run left is gone on from: a change set that was never executed, a
   creation that failed, a change that is still under way.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hangup.aws.bucket import CodeBucket, is_new_name, new_name
from hangup.aws.stacks import NEW, ChangeSet, StackEvent, Stacks, StackState
from hangup.errors import DeployError

TAG: Final = {"hangup": "timeout"}
"""On every stack that is made here. No other is changed."""

_BUCKET, _KEY = "CodeBucket", "CodeKey"
_CHANGE_SETS: Final = "hangup-"
"""What the names of change sets begin with that are made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A deployment as it should be.

    ``parameters`` are the template's, without where the code is, and ``kept`` returns those of a
    deployed stack that stay beside them. ``bucket`` is the user's own for the code, None for one
    that is made. ``zip_path`` is the code, and ``code_key`` where it is in the bucket, None for a
    key by its content. What is there already is not uploaded.
    """

    stack: str
    template: str
    parameters: Mapping[str, str]
    zip_path: Path
    kept: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda _held: {}
    bucket: str | None = None
    code_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What would be changed. ``makes_bucket``: the bucket is made when the change is.

    ``before`` is the stack as it is, None for a new one.
    """

    before: StackState | None
    change_set: ChangeSet
    bucket: CodeBucket
    makes_bucket: bool
    code_key: str
    zip_path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployer:
    """Deploys and removes. ``happens`` hears of each event, ``say`` of each step.

    ``bucket_of`` returns a bucket by its name. Every method raises ``BackendError``, and
    ``DeployError`` where the state of a stack does not allow what was asked for, or
    ``ConfigurationError`` where that of the bucket does not.
    """

    stacks: Stacks
    bucket_of: Callable[[str], CodeBucket]
    happens: Callable[[StackEvent], None]
    say: Callable[[str], None]

    def propose(self, wanted: Wanted) -> Proposal | None:
        """Work out what a deployment changes; return None if all is as wanted."""
        state = self._settled(wanted.stack)
        if state is not None and state.is_failed_creation:
            self.say(f"removing what is left of the stack {wanted.stack}: its creation failed")
            self._remove(wanted.stack, state)
            is_creation = True
        else:
            is_creation = state is None or state.status == NEW
        name, makes_bucket = self._bucket(wanted, state, is_creation=is_creation)
        bucket = self.bucket_of(name)
        if not makes_bucket:
            bucket.check()
        content = hashlib.sha256(wanted.zip_path.read_bytes()).hexdigest()
        code_key = wanted.code_key or f"hangup/{content}.zip"
        before = None if is_creation else state
        kept = wanted.kept(before.parameters) if before else {}
        change_set = self.stacks.propose(
            wanted.stack,
            template=wanted.template,
            parameters={**kept, **wanted.parameters, _BUCKET: name, _KEY: code_key},
            tags=TAG,
            is_creation=is_creation,
            change_set=_new_name("deploy"),
        )
        if change_set is None:
            return None
        return Proposal(
            before=before,
            change_set=change_set,
            bucket=bucket,
            makes_bucket=makes_bucket,
            code_key=code_key,
            zip_path=wanted.zip_path,
        )

    def propose_parameters(self, stack: str, changed: Mapping[str, str]) -> ChangeSet | None:
        """Work out a change of some parameters alone; return None if they have these values."""
        state = self._ours(stack)
        unknown = changed.keys() - state.parameters.keys()
        if unknown:
            raise DeployError(
                f"the stack {stack} has no parameter {min(unknown)}: it is of another version; run"
                " hangup deploy first"
            )
        return self.stacks.propose(
            stack,
            template=None,
            parameters=changed,
            kept=[name for name in state.parameters if name not in changed],
            tags=TAG,
            is_creation=False,
            change_set=_new_name("mode"),
        )

    def decline(self, proposal: Proposal) -> None:
        """Leave everything as it was before ``propose``, and before an interrupted run."""
        if proposal.makes_bucket and proposal.bucket.exists():
            proposal.bucket.delete()
        self.stacks.discard(proposal.change_set)

    def carry_out(self, proposal: Proposal) -> StackState:
        """Upload the code, make the change, and return the stack as it is then."""
        bucket = proposal.bucket
        if proposal.makes_bucket:
            self.say(f"making the bucket {bucket.name}")
            bucket.create()
        if bucket.upload(proposal.zip_path.read_bytes(), proposal.code_key):
            self.say(f"uploaded the functions' code to {bucket.name}")
        return self.change(proposal.change_set, bucket if proposal.makes_bucket else None)

    def change(self, change_set: ChangeSet, made: CodeBucket | None = None) -> StackState:
        """Make a change and return the stack as it is then.

        A failed creation is removed, and the bucket that was made for it.
        """
        causes = _Causes(self.happens)
        state = self.stacks.execute(change_set, happens=causes.hear)
        if state is not None and state.is_well:
            return state
        if change_set.is_creation and state is not None and state.is_failed_creation:
            if made is not None:
                made.delete()
            self._remove(change_set.stack_id, state)
            raise DeployError(f"the stack was not created, and is removed again: {causes}")
        status = "gone" if state is None else state.status
        raise DeployError(f"the stack is {status}, and what it was before still works: {causes}")

    def to_remove(self, stack: str) -> StackState:
        """Return a stack that may be deleted."""
        state = self._ours(stack)
        if state.is_protected:
            raise DeployError(
                f"the stack {stack} has termination protection: turn it off with `aws"
                " cloudformation update-termination-protection --no-enable-termination-protection"
                f" --stack-name {stack}`"
            )
        return state

    def bucket_to_remove(self, stack: str, state: StackState) -> CodeBucket | None:
        """Return the bucket of a stack's code if that was made for it and is there.

        Delete it before the stack, which needs it no more: only the stack knows its name.
        """
        for bucket in map(self.bucket_of, self._buckets_of(stack, state)):
            # One that an interrupted run has only just made has no tag yet.
            may_be_new = state.status == NEW and is_new_name(bucket.name)
            if bucket.exists() and (may_be_new or bucket.is_made_for_code()):
                return bucket
        return None

    def remove(self, stack: str) -> None:
        """Delete a stack."""
        self._remove(stack, self.to_remove(stack))

    def _remove(self, stack: str, state: StackState) -> None:
        causes = _Causes(self.happens)
        left = self.stacks.delete(state.stack_id, happens=causes.hear)
        if left is not None:
            raise DeployError(
                f"the stack {stack} could not be deleted, it is {left.status}: {causes}"
            )

    def _settled(self, stack: str) -> StackState | None:
        """Return the stack once nothing changes; None if there is none. Refuse one of others."""
        state = self.stacks.find(stack)
        if state is None:
            return None
        if not self._is_made_here(stack, state):
            raise DeployError(
                f"there is a stack {stack} already that hangup deploy did not make: choose another"
                " name for this one with --set stack.name=NAME"
            )
        if state.is_changing:
            self.say(f"the stack {stack} is being changed: waiting until that is done")
            state = self.stacks.follow(state.stack_id, happens=self.happens)
        if state is not None and state.status == "UPDATE_ROLLBACK_FAILED":
            raise DeployError(
                f"the stack {stack} is UPDATE_ROLLBACK_FAILED: first run `aws cloudformation"
                f" continue-update-rollback --stack-name {stack}`"
            )
        return state

    def _is_made_here(self, stack: str, state: StackState) -> bool:
        if state.status != NEW:
            return TAG.items() <= state.tags.items()
        # It has no tags yet, and nothing but changes that were never made.
        return all(
            name.startswith(_CHANGE_SETS) for name, _ in self.stacks.change_sets(stack, state)
        )

    def _ours(self, stack: str) -> StackState:
        state = self._settled(stack)
        if state is None:
            raise DeployError(f"there is no stack {stack} in this account and Region")
        return state

    def _bucket(
        self, wanted: Wanted, state: StackState | None, *, is_creation: bool
    ) -> tuple[str, bool]:
        """Return the bucket's name, and whether it is one that is made here."""
        if wanted.bucket is not None:
            return wanted.bucket, False
        held = self._buckets_of(wanted.stack, state) if state else []
        there = [name for name in held if self.bucket_of(name).exists()]
        if there and not is_creation:
            return there[0], False
        # A creation that was interrupted, or failed: the bucket that it made may be there.
        return next(filter(is_new_name, there), new_name()), True

    def _buckets_of(self, stack: str, state: StackState) -> Sequence[str]:
        """Return the bucket that a stack has; those that it might have got, if it is new."""
        said = [state.parameters]
        if state.status == NEW:
            said = [parameters for _, parameters in self.stacks.change_sets(stack, state)]
        return [parameters[_BUCKET] for parameters in said if _BUCKET in parameters]


@dataclass(slots=True)
class _Causes:
    """Passes events on, and remembers what failed by itself."""

    happens: Callable[[StackEvent], None]
    found: list[StackEvent] = field(default_factory=list)

    def hear(self, event: StackEvent) -> None:
        self.happens(event)
        if event.is_cause:
            self.found.append(event)

    def __str__(self) -> str:
        said = "; ".join(
            f"{one.logical_id} ({one.resource_type}) {one.status}: {one.reason}"
            for one in self.found
        )
        return said or "CloudFormation gave no reason"


def _new_name(what: str) -> str:
    return f"{_CHANGE_SETS}{what}-{secrets.token_hex(4)}"
