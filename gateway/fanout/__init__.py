"""Who gets what. No Django, Redis or Daphne."""
