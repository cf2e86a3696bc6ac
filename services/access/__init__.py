"""Who may do what through an API: keys with scopes, and the audit log."""
