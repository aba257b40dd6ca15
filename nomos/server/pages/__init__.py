"""The approval pages: what people see of the control plane. Rendered here, without scripts."""
