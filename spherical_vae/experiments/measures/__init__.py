"""What single tables and figures ask of a trained model, beside the measures that all have."""
