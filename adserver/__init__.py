"""Ad server: campaign management, ad selection and delivery, event tracking and reporting."""

__version__ = "0.1.0"
