"""The REST interface: `/api/v1`, an application of its own or mounted into another."""
