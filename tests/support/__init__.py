"""What tests are made with: projects, servers, archives, made-up results. No tests."""
