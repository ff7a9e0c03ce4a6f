"""What zones hold, and because of what: for bills of materials, for who is affected, for sizes. Pure."""
