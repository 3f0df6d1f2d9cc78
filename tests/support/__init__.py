"""What tests share. Tests import this, and no other tests."""
