"""Methods of distillation that are more than a function of outputs; one method per file."""
