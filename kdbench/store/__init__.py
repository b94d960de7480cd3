"""What lies on disk: results, weights, predictions, leases, failures."""
