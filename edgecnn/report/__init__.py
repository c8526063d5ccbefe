"""What is written for people to read: model cards and pages. From artifacts and measurements alone, so it works on a device too."""
