"""Pages and sheets: the template, the style and the drawing that every page of the project shares."""
