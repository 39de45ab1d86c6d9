"""One readable loop on Lightning Fabric."""
