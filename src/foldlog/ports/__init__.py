"""Protocols only: what the flow needs of the outside. Adapters implement them and never see the flow."""
