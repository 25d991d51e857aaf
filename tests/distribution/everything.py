"""All that processes are asked to do together."""

from tests.distribution.scenarios import *  # noqa: F403
from tests.distribution.together import *  # noqa: F403
