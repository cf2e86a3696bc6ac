"""The GraphQL interface: the data of the REST interface with its relations, on `POST /api/v1/graphql`."""
