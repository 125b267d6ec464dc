"""The pictures of the site, each drawn by the simulation that it shows. `python docs/site/draw.py` draws all."""
