"""A checkout three times over: by choreography, by orchestration, and mixed. The deciders are the same."""
