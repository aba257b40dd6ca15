"""Providers: the resources and commands of the upstream APIs, as YAML files and their reader."""
