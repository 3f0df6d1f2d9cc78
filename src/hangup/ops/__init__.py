"""What people ask of a deployment. It returns values; ``hangup.cli`` prints them."""
