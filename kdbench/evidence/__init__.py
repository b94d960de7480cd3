"""Results held against other results: precisions, versions, deltas, bundles that strangers judge again."""
