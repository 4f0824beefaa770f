"""Use cases: accept, dispatch, poll health, recover, audit."""
