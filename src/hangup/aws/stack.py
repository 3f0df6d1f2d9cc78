"""A deployed reference stack, found by its name."""

from hangup.aws.clients import cloudformation_client, secrets_client, translated
from hangup.errors import BackendError

__all__ = ["deployed_join_secret"]

_OUTPUT = "JoinSecretArn"


def deployed_join_secret(stack_name: str) -> str:
    """Return the join secret of the reference stack, with the caller's AWS credentials.

    Raises ``BackendError`` if the stack cannot be described, is no reference stack, or its secret
    cannot be read.
    """
    with translated("DescribeStacks"):
        stacks = cloudformation_client().describe_stacks(StackName=stack_name)["Stacks"]
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stacks[0].get("Outputs", [])}
    if _OUTPUT not in outputs:
        raise BackendError(
            "DescribeStacks",
            "NoSuchOutput",
            f"stack {stack_name} has no output {_OUTPUT}: it is not the reference stack",
            retryable=False,
        )
    with translated("GetSecretValue"):
        return secrets_client().get_secret_value(SecretId=outputs[_OUTPUT])["SecretString"]
