"""From the settings of a row to trained and measured models, each made once and kept."""
