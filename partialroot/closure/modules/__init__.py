"""What programs open by configuration: name services and PAM."""
