"""All that processes are asked to do together."""

from tests.distribution import scenarios, together

globals().update({function.__name__: function for function in (*scenarios.ALL, *together.ALL)})
