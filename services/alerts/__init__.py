"""Alerts: what somebody should look at. Rules, who evaluates them, and what becomes of what they find."""
