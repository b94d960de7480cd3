all("figure.curve").forEach(draw);
