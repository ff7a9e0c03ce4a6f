"""Composes the stages for each verb: the only place that knows their order."""
