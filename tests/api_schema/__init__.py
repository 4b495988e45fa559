"""Whether the running server keeps what /openapi.json says, tried by Schemathesis with generated requests."""
