"""What the admin of this project is called."""

from django.contrib import admin

admin.site.site_header = "MarketMux"
admin.site.site_title = "MarketMux"
admin.site.index_title = "Administration"
