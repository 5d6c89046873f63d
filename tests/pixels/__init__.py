"""Jobs over other people's test images: each ends right or refused."""
