"""What the REST interface takes and gives, as models: the OpenAPI document is made from them."""
